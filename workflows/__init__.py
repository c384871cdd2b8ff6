"""What a data team launches."""
