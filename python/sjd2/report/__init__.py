"""Runs side by side on one page: `runs` reads what `sjd2 eval` and `sjd2 trace` wrote, `page` makes HTML of it."""
