"""Which stages a title passes, in what order and in which tasks. A pipeline of your own is one more file here."""
