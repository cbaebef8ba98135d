"""What is left out unless a backup set says otherwise: only what the operating system makes again by itself.

Never a type of document, and never a place where someone may have put work: /tmp, caches of programs and
lost+found (which holds what fsck rescued) stay in. Folders that the system mounts over are kept empty, so
that a restored system has its mount points. Any line is undone by a `!` line, for example `!/swapfile`.
"""

import sys

from backstay.domain.content_rule import ContentRule

LINUX = r"""
# the kernel's view of its processes and settings; proc(5)
/proc/*

# the kernel's view of devices and drivers; sysfs(5)
/sys/*

# device nodes, made by the kernel (devtmpfs) and udev at every start
/dev/*

# state since the last start, emptied by every start; file-hierarchy(7)
/run/*

# memory that was swapped out; worthless after a restart: mkswap(8) makes the file again
[type file] /swapfile
[type file] /swap.img
[type file] /swap/swapfile
[type file] /var/swap

# views that the kernel and lxcfs make while they run
/var/lib/nfs/rpc_pipefs/*
/var/lib/lxcfs/*
"""

WINDOWS = r"""
# memory that was swapped out; Windows makes it again at every start
/?:/pagefile.sys
/?:/swapfile.sys

# memory of a machine that hibernates; Windows makes it again
/?:/hiberfil.sys

# shadow copies and indexes of this very volume; they mean nothing on another
/?:/System Volume Information/

# what users have deleted
/?:/$Recycle.Bin/
/?:/$RECYCLE.BIN/
"""

ORIGIN = "default rules"


def linux_rules() -> ContentRule:
    """The default rules of a Linux file server."""
    return ContentRule.parse(LINUX, ORIGIN, numbered=False)


def windows_rules() -> ContentRule:
    """The default rules of a Windows file server; its paths begin with the drive, as in b"C:/Users"."""
    return ContentRule.parse(WINDOWS, ORIGIN, numbered=False)


def rules_of_this_system() -> ContentRule:
    """The default rules of the file server that this runs on."""
    return windows_rules() if sys.platform == "win32" else linux_rules()
