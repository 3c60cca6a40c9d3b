"""The puppets recipe: the procedural corpus, drawn and written as shards."""
