"""The operating system below everything: the same few calls, meaning the same, on Linux and on Windows."""
