"""What if? The numbers in the rules of a mesh, what moving each does, and which of them would bring an objective."""
