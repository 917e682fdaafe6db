"""The leaderboard's figures as Plotly specifications: plain dictionaries, drawn by the page."""
