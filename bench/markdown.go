package main

func writeMarkdown(string, *Report) error { return nil }
