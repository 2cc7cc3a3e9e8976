"""The domains against the packages whose users come to us, in an environment that has them.

artifact-core asks for pandas 2, so this is where the domains are tested with pandas 2 as well.
`make peers` makes the environment and runs everything here.
"""
