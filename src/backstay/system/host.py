"""What the engine asks of the machine as a whole; chosen here, as the calls of files are in `calls`."""

import sys

if sys.platform == "win32":
    from backstay.system.host_windows import (
        ENDING_SIGNALS,
        TICK_NS,
        alarm_after,
        chosen_path,
        end_group,
        forget_pages,
        lock_file,
        point_path,
        process_is_alive,
        quoted_path,
        service_base,
        stamp_time_ns,
        state_base,
        sync_filesystem,
    )
else:
    from backstay.system.host_posix import (
        ENDING_SIGNALS,
        TICK_NS,
        alarm_after,
        chosen_path,
        end_group,
        forget_pages,
        lock_file,
        point_path,
        process_is_alive,
        quoted_path,
        service_base,
        stamp_time_ns,
        state_base,
        sync_filesystem,
    )

__all__ = [
    "ENDING_SIGNALS",
    "TICK_NS",
    "alarm_after",
    "chosen_path",
    "end_group",
    "forget_pages",
    "lock_file",
    "point_path",
    "process_is_alive",
    "quoted_path",
    "service_base",
    "stamp_time_ns",
    "state_base",
    "sync_filesystem",
]
