"""Dom-ST heads: from the store to trained networks, forecasts and reports."""
