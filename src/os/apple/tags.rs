//! What a region's tag, which its maker gave it, says of it.

use crate::region::BackingKind;
use core::ffi::c_uint;
use mach2::vm_statistics as tags;

/// The system's names of the tags (`mach/vm_statistics.h`), without the `VM_MEMORY_` before each.
macro_rules! named {
    ($tag:expr => $($name:ident)*) => {
        match $tag {
            $(tags::$name => stringify!($name).strip_prefix("VM_MEMORY_"),)*
            _ => None,
        }
    };
}

/// The name of a tag; `None` for memory without one, and for tags that are each program's own.
pub(super) fn name(tag: c_uint) -> Option<&'static str> {
    named! { tag =>
        VM_MEMORY_MALLOC VM_MEMORY_MALLOC_SMALL VM_MEMORY_MALLOC_LARGE VM_MEMORY_MALLOC_HUGE VM_MEMORY_SBRK
        VM_MEMORY_REALLOC VM_MEMORY_MALLOC_TINY VM_MEMORY_MALLOC_LARGE_REUSABLE VM_MEMORY_MALLOC_LARGE_REUSED
        VM_MEMORY_ANALYSIS_TOOL VM_MEMORY_MALLOC_NANO VM_MEMORY_MALLOC_MEDIUM VM_MEMORY_MALLOC_PROB_GUARD
        VM_MEMORY_MACH_MSG VM_MEMORY_IOKIT VM_MEMORY_STACK VM_MEMORY_GUARD VM_MEMORY_SHARED_PMAP VM_MEMORY_DYLIB
        VM_MEMORY_OBJC_DISPATCHERS VM_MEMORY_UNSHARED_PMAP VM_MEMORY_LIBCHANNEL VM_MEMORY_APPKIT
        VM_MEMORY_FOUNDATION VM_MEMORY_COREGRAPHICS VM_MEMORY_CORESERVICES VM_MEMORY_JAVA VM_MEMORY_COREDATA
        VM_MEMORY_COREDATA_OBJECTIDS VM_MEMORY_ATS VM_MEMORY_LAYERKIT VM_MEMORY_CGIMAGE VM_MEMORY_TCMALLOC
        VM_MEMORY_COREGRAPHICS_DATA VM_MEMORY_COREGRAPHICS_SHARED VM_MEMORY_COREGRAPHICS_FRAMEBUFFERS
        VM_MEMORY_COREGRAPHICS_BACKINGSTORES VM_MEMORY_COREGRAPHICS_XALLOC VM_MEMORY_DYLD VM_MEMORY_DYLD_MALLOC
        VM_MEMORY_SQLITE VM_MEMORY_JAVASCRIPT_CORE VM_MEMORY_JAVASCRIPT_JIT_EXECUTABLE_ALLOCATOR
        VM_MEMORY_JAVASCRIPT_JIT_REGISTER_FILE VM_MEMORY_GLSL VM_MEMORY_OPENCL VM_MEMORY_COREIMAGE
        VM_MEMORY_WEBCORE_PURGEABLE_BUFFERS VM_MEMORY_IMAGEIO VM_MEMORY_COREPROFILE VM_MEMORY_ASSETSD
        VM_MEMORY_OS_ALLOC_ONCE VM_MEMORY_LIBDISPATCH VM_MEMORY_ACCELERATE VM_MEMORY_COREUI
        VM_MEMORY_COREUIFILE VM_MEMORY_GENEALOGY VM_MEMORY_RAWCAMERA VM_MEMORY_CORPSEINFO VM_MEMORY_ASL
        VM_MEMORY_SWIFT_RUNTIME VM_MEMORY_SWIFT_METADATA VM_MEMORY_DHMM VM_MEMORY_DFR VM_MEMORY_SCENEKIT
        VM_MEMORY_SKYWALK VM_MEMORY_IOSURFACE VM_MEMORY_LIBNETWORK VM_MEMORY_AUDIO VM_MEMORY_VIDEOBITSTREAM
        VM_MEMORY_CM_XPC VM_MEMORY_CM_RPC VM_MEMORY_CM_MEMORYPOOL VM_MEMORY_CM_READCACHE VM_MEMORY_CM_CRABS
        VM_MEMORY_QUICKLOOK_THUMBNAILS VM_MEMORY_ACCOUNTS VM_MEMORY_SANITIZER VM_MEMORY_IOACCELERATOR
        VM_MEMORY_CM_REGWARP VM_MEMORY_EAR_DECODER VM_MEMORY_COREUI_CACHED_IMAGE_DATA VM_MEMORY_COLORSYNC
        VM_MEMORY_BTINFO VM_MEMORY_CM_HLS VM_MEMORY_COMPOSITOR_SERVICES VM_MEMORY_ROSETTA
        VM_MEMORY_ROSETTA_THREAD_CONTEXT VM_MEMORY_ROSETTA_INDIRECT_BRANCH_MAP VM_MEMORY_ROSETTA_RETURN_STACK
        VM_MEMORY_ROSETTA_EXECUTABLE_HEAP VM_MEMORY_ROSETTA_USER_LDT VM_MEMORY_ROSETTA_ARENA VM_MEMORY_ROSETTA_10
    }
}

/// What kind of memory has the tag, if it is memory without a file; `None` when the tag says no more than its name.
pub(super) fn kind(tag: c_uint) -> Option<BackingKind> {
    match tag {
        tags::VM_MEMORY_STACK => Some(BackingKind::Stack),
        tags::VM_MEMORY_MALLOC
        | tags::VM_MEMORY_MALLOC_SMALL
        | tags::VM_MEMORY_MALLOC_LARGE
        | tags::VM_MEMORY_MALLOC_HUGE
        | tags::VM_MEMORY_SBRK
        | tags::VM_MEMORY_REALLOC
        | tags::VM_MEMORY_MALLOC_TINY
        | tags::VM_MEMORY_MALLOC_LARGE_REUSABLE
        | tags::VM_MEMORY_MALLOC_LARGE_REUSED
        | tags::VM_MEMORY_MALLOC_NANO
        | tags::VM_MEMORY_MALLOC_MEDIUM
        | tags::VM_MEMORY_MALLOC_PROB_GUARD => Some(BackingKind::Heap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_the_names_of_the_system() {
        assert_eq!(name(2), Some("MALLOC_SMALL"));
        assert_eq!(name(30), Some("STACK"));
        assert_eq!(name(60), Some("DYLD"));
        for tag in [0, 14, 229, 240, 255, c_uint::MAX] {
            assert_eq!(name(tag), None, "{tag}");
        }
    }

    #[test]
    fn stacks_and_the_memory_of_malloc_are_known_by_their_tags() {
        assert_eq!(kind(30), Some(BackingKind::Stack));
        for tag in (1..=9).chain(11..=13) {
            assert_eq!(kind(tag), Some(BackingKind::Heap), "{tag}");
        }
        for tag in [0, 10, 31, 53, 61] {
            assert_eq!(kind(tag), None, "{tag}");
        }
    }
}
