"""Views of results: what the commands show, and the formats they show it in.

``views`` turns results into the sheets and documents of ``rows``; ``as_table``, ``as_json``, ``as_csv`` and
``as_markdown`` each write one of these, know nothing of networks, and are imported when their format is asked for.
"""
