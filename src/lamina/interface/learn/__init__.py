"""From judged answers to rows that teach."""
