"""Steps of the data layer: transforms edit text, signals add columns, passes see the whole set; a Decide is config."""
