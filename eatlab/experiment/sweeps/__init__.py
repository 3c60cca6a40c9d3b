"""What a grid found, from its records: curves, Pareto fronts, pairs, tables, and the page that shows them."""
