"""Messages on their way in and out, their headers, and the rules by which names and keys are found."""
