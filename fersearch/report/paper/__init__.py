"""The source paper's claims beside what was measured, and the audit of the claims themselves."""
