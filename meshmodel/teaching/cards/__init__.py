"""Cards: small forms of one look, for exercises, guesses, what a guess hides, and the summary of a chapter."""
