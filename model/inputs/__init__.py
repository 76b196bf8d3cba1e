"""From the store to arrays: a watershed's forcings, snow, soil stores and features."""
