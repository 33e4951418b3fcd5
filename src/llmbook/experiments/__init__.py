"""What is run and measured: each module trains or asks models, and returns what came out."""
