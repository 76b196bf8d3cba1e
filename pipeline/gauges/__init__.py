"""Discharge records: read from any format, and converted to series in m3 s-1 with flags."""
