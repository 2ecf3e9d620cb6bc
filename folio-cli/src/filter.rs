//! Which mappings are shown.

use crate::collect::Row;
use folio::{BackingKind, Protection};
use globset::{Candidate, GlobBuilder, GlobMatcher};

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    text: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    AtLeast(Protection),
    Exactly(Protection, Option<bool>),
    File,
    Anonymous,
    Code,
    Guard,
    Heap,
    Stack,
    Shared,
    Kernel,
    Name(GlobMatcher),
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let test = match text {
            "file" => Test::File,
            "anon" | "anonymous" => Test::Anonymous,
            "code" => Test::Code,
            "guard" => Test::Guard,
            "heap" => Test::Heap,
            "stack" => Test::Stack,
            "shared" => Test::Shared,
            "kernel" => Test::Kernel,
            _ if text.contains(['/', '\\', '*', '?', '[']) => Self::glob(text)?,
            _ => Self::rights(text).ok_or_else(|| {
                "a filter is rights (rw, r-x), file, anon, code, guard, heap, stack, shared, kernel, or a glob with / * ? \
                 or [; for a part of a name write *part*"
                    .to_owned()
            })?,
        };
        Ok(Self { text: text.to_owned(), test })
    }

    /// `*` shall match `/` (`*libc*` finds it wherever it is), and `\` is a letter on Windows, whose names are full of it.
    fn glob(text: &str) -> Result<Test, String> {
        GlobBuilder::new(text)
            .literal_separator(false)
            .backslash_escape(!cfg!(windows))
            .build()
            .map(|glob| Test::Name(glob.compile_matcher()))
            .map_err(|error| error.kind().to_string())
    }

    fn rights(text: &str) -> Option<Test> {
        // As in `/proc/PID/maps`: three rights and whether it is shared.
        if let Some((rights, shared)) = text.split_at_checked(3)
            && let Some(shared) = match shared {
                "p" => Some(false),
                "s" => Some(true),
                _ => None,
            }
        {
            return Some(Test::Exactly(rights.parse().ok()?, Some(shared)));
        }
        let protection: Protection = text.parse().ok()?;
        Some(match text.contains('-') || protection == Protection::NONE {
            true => Test::Exactly(protection, None),
            false => Test::AtLeast(protection),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, row: &Row) -> bool {
        let (region, backing) = (&row.region, row.backing.kind());
        match &self.test {
            Test::AtLeast(protection) => region.protection().contains(*protection),
            Test::Exactly(protection, shared) => {
                region.protection() == *protection && shared.is_none_or(|shared| shared == region.is_shared())
            }
            Test::File => matches!(backing, BackingKind::File | BackingKind::Image),
            Test::Anonymous => {
                matches!(backing, BackingKind::Anonymous | BackingKind::Heap | BackingKind::Stack)
                    && !region.is_shared()
            }
            Test::Code => region.is_executable(),
            Test::Guard => region.is_guarded() || region.protection() == Protection::NONE,
            Test::Heap => backing == BackingKind::Heap,
            Test::Stack => backing == BackingKind::Stack,
            Test::Shared => region.is_shared() || backing == BackingKind::SharedMemory,
            Test::Kernel => backing == BackingKind::Kernel,
            // `[heap]` is a glob of one letter, but who writes it means the name.
            Test::Name(glob) => {
                let name = row.backing.name();
                name == self.text.as_bytes() || glob.is_match_candidate(&Candidate::from_bytes(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_at_least_or_exact() {
        let test = |text: &str| Filter::parse(text).unwrap().test;
        assert!(matches!(test("rw"), Test::AtLeast(Protection::READ_WRITE)));
        assert!(matches!(test("rwx"), Test::AtLeast(Protection::READ_WRITE_EXECUTE)));
        assert!(matches!(test("r-x"), Test::Exactly(Protection::READ_EXECUTE, None)));
        assert!(matches!(test("---"), Test::Exactly(Protection::NONE, None)));
        assert!(matches!(test("rw-s"), Test::Exactly(Protection::READ_WRITE, Some(true))));
        assert!(matches!(test("r--p"), Test::Exactly(Protection::READ, Some(false))));
        assert!(matches!(test("*libc*"), Test::Name(_)));
        for text in ["", "wr", "r-", "r-xq", "libc", "[a", "é é"] {
            assert!(Filter::parse(text).is_err(), "{text:?}");
        }
    }
}
