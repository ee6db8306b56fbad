"""Learning on one plane (C, Y, X). torch lives here."""
