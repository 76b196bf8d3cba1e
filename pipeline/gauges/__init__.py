"""Discharge records: every format to series in m3 s-1 with flags."""
