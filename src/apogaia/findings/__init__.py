"""What was found, in words: the sentences with which the notebooks end, made from their results."""
