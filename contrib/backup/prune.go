package backup

import (
	"context"
	"fmt"
)

// prune removes all but the newest generations, and the files that none needs any more. A generation
// goes before its files, so that none is listed whose files are not there.
func prune(ctx context.Context, b bucket, all []*manifest, keep int) error {
	if keep == 0 || len(all) < keep {
		keep = len(all)
	}
	old, kept := all[:len(all)-keep], all[len(all)-keep:]
	for _, m := range old {
		if err := b.remove(ctx, m.key()); err != nil {
			return fmt.Errorf("backup: remove the generation of %s: %w", m.Taken, err)
		}
	}
	needed := make(map[string]bool)
	for _, m := range kept {
		for _, f := range m.Files {
			needed[f.key()] = true
		}
	}
	for key, err := range b.list(ctx, files) {
		if err != nil {
			return fmt.Errorf("backup: list the files: %w", err)
		}
		if needed[key] {
			continue
		}
		if err := b.remove(ctx, key); err != nil {
			return fmt.Errorf("backup: remove %s: %w", key, err)
		}
	}
	return nil
}
