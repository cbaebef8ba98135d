"""What may be wrong: one small check for each kind of alert, listed in `alerts.CHECKS`."""
