# Installs the Backstay agent from its server: downloads it, checks it, enrols this machine, starts the service.
# Usage: install.ps1 [TOKEN], as an administrator. It can be run again: to renew the agent, or to enrol anew.
param([string] $token = '')
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$server = @@SERVER@@
$package = @@PACKAGE@@
$digest = @@DIGEST@@
$target = Join-Path $env:ProgramFiles 'Backstay'
$program = Join-Path $target 'backstay.exe'
$service = 'BackstayAgent'

$principal = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'Run this as an administrator: the agent reads every file, and takes shadow copies.'
}
if (-not [Environment]::Is64BitOperatingSystem) { throw 'The Backstay agent needs a 64-bit Windows.' }

$folder = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName())
New-Item -ItemType Directory -Path $folder | Out-Null
try {
    $archive = Join-Path $folder 'agent.zip'
    Write-Host "Downloading the agent from $server ..."
    # Whoever answers: what comes is used only if it has the digest. curl.exe is part of Windows since Server 2019.
    & curl.exe --fail --silent --show-error --insecure --output $archive $package
    if ($LASTEXITCODE -ne 0) { throw 'The agent could not be downloaded; the line above says why.' }
    $found = (Get-FileHash -Algorithm SHA256 -Path $archive).Hash
    if ($found -ne $digest) { throw "The download has the SHA-256 $found instead of $digest; nothing was installed." }

    if (Get-Service -Name $service -ErrorAction SilentlyContinue) {
        Write-Host 'Stopping the agent that is here ...'
        Stop-Service -Name $service
    }
    if (Test-Path $target) { Remove-Item -Recurse -Force -Path $target }
    Expand-Archive -Path $archive -DestinationPath $target

    if ($token) {
        & $program agent enrol $server $token --again
        if ($LASTEXITCODE -ne 0) { throw 'This machine could not be enrolled; the line above says why.' }
    }
    & $program agent install
    if ($LASTEXITCODE -ne 0) { throw 'The service could not be installed; the line above says why.' }
    & $program doctor --agent
    Write-Host "The agent runs as the service $service. Its messages are in the Application event log."
}
finally {
    Remove-Item -Recurse -Force -Path $folder
}
