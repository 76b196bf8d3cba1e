"""Check a finished store against its raw files and against the water balance."""
