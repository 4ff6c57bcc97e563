"""One module a page: `layout(context, address)` draws it, `register(app, context)` adds what it answers to."""
