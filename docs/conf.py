"""How the pages are built: ``sphinx-build -W docs OUT``."""

project, author, copyright = "secateur", "The secateur authors", "2026, The secateur authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme, html_title = "furo", "secateur"
exclude_patterns = ["about.md"]  # the description of the package: it has no links to files, which an index cannot show
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False
suppress_warnings = ["ref.python"]  # short names in annotations, such as Data, that are exported twice
