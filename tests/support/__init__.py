"""What several test modules share: real servers, real processes, readers, waiting."""
