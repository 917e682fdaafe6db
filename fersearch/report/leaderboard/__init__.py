"""The leaderboard: boards from tracked studies, and every format that they are written in."""
