"""Hidden states or codes to mel to waveform to bytes: knows frames and samples."""
