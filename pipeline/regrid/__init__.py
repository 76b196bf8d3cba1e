"""Conservative regridding onto a longitude-latitude grid."""
