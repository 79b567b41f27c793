"""The text format of programs: `print_program` and `parse_program` are inverse."""

from graphwright.ir.text.atoms import parse_type
from graphwright.ir.text.parser import parse_program, read_program
from graphwright.ir.text.printer import op_line, print_graph, print_program

__all__ = ["op_line", "parse_program", "parse_type", "print_graph", "print_program", "read_program"]
