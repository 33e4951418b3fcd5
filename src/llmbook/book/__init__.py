"""What this book adds to weave, which serves any book: its fences, and the data they show."""
