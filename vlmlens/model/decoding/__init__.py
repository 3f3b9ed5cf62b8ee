"""Token after token: which comes next, and how likely given answers are."""
