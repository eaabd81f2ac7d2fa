"""`python -m tfgrid.agents.threebot DIR`: the bot's own process."""

import sys

from tfgrid.agents.threebot.daemon import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
