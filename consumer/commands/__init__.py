"""The commands of `segmenter`, one file per group. Heavy imports happen inside the commands."""
