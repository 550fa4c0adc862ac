"""Models of real parts at register and bit level, one file per part; each cites the datasheet it follows."""
