"""What came of it: results of the stages, rules that a rendition must meet, the report, and how a title ends."""
