"""The literature's comparisons, run again: configurations, results, and a page with ours beside the published figures."""
