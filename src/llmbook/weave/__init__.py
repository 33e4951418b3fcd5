"""Executes chapters and weaves their outputs into plain Markdown.

`chapter` reads a chapter, `engine` executes what is stale, `store` keeps what was made, `render`
puts outputs into the text, `book` does a whole folder, `blocks` renders the book's own fences;
`configuration` knows where the book is published, and the order of its pages; `kernel` and
`figures` run beside the chapter's cells. `plugin` hands the result to MkDocs; `katex` and
`diagrams` are called by the Markdown renderer.
"""
