"""Update rules, and the edge at which each turns unstable."""
