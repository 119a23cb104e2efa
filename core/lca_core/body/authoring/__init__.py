"""Build-time only: how the body files are made from MakeHuman data. Nothing at run time imports this
folder.
"""
