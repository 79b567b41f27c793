"""What passes did and what programs cost, as data and as a page."""
