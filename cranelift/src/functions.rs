//! Functions that Cranelift compiles, and what they ought to do.

use cranelift::codegen::Context;
use cranelift::codegen::ir::UserFuncName;
use cranelift::prelude::*;
use cranelift_jit::{JITBuilder, JITMemoryProvider, JITModule};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleError, ModuleResult, default_libcall_names,
};
use std::fmt;
use std::mem::transmute;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What the read-only data holds.
pub const FIRST_PRIMES: [u64; 6] = [2, 3, 5, 7, 11, 13];

const TRUSTED: MemFlagsData = MemFlagsData::trusted();

static TOLD: AtomicU64 = AtomicU64::new(0);

/// What generated code calls: counts, over all of them, how often, and gives the double.
extern "C" fn host(number: u64) -> u64 {
    TOLD.fetch_add(1, Ordering::Relaxed);
    number.wrapping_mul(2)
}

/// A compiler with a module.
pub struct Jit {
    module: JITModule,
    context: Context,
    builder: FunctionBuilderContext,
    /// Where the function is written down that `Functions::swapped` calls.
    slot: Option<DataId>,
}

/// Functions that were compiled.
///
/// They may be called until [`Jit::free`].
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// The number of this number in Fibonacci's row; it calls itself.
    pub fibonacci: extern "C" fn(u64) -> u64,
    /// The wrapping sum of so many numbers at a place; a loop over memory.
    pub sum: unsafe extern "C" fn(*const u64, u64) -> u64,
    /// `fibonacci(number) + host(number)`: calls another one, and the program.
    pub both: extern "C" fn(u64) -> u64,
    /// The prime of this index modulo 6, read from data that cannot be written.
    pub prime: extern "C" fn(u64) -> u64,
    /// Counts in data that can be written: 1, 2, …; by one thread at once.
    pub next: unsafe extern "C" fn() -> u64,
    /// Calls whatever function is [chosen](Jit::swap): at first one that adds 1.
    pub swapped: extern "C" fn(u64) -> u64,
    /// The address of the read-only data.
    pub primes: *const u8,
    /// The address of the data in which is counted.
    pub counter: *const u8,
}

impl Jit {
    /// With memory from a provider.
    ///
    /// # Errors
    ///
    /// Cranelift refuses its settings.
    pub fn new(provider: Box<dyn JITMemoryProvider + Send>) -> ModuleResult<Self> {
        let mut builder = JITBuilder::with_flags(&[("opt_level", "speed")], default_libcall_names())?;
        builder.symbol("host", host as *const u8).memory_provider(provider);
        let module = JITModule::new(builder);
        let context = module.make_context();
        Ok(Self { module, context, builder: FunctionBuilderContext::new(), slot: None })
    }

    /// How often generated code has called the program.
    pub fn told() -> u64 {
        TOLD.load(Ordering::Relaxed)
    }

    /// Of numbers only.
    fn signature(&self, arguments: &[Type]) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params.extend(arguments.iter().map(|&argument| AbiParam::new(argument)));
        signature.returns.push(AbiParam::new(types::I64));
        signature
    }

    /// Compiles a function, whose body is given what it is called with, and what it may refer to.
    fn define(
        &mut self,
        name: &str,
        signature: Signature,
        body: impl FnOnce(&mut FunctionBuilder<'_>, &mut JITModule, FuncId, &[Value]) -> ModuleResult<Value>,
    ) -> ModuleResult<FuncId> {
        let id = self.module.declare_function(name, Linkage::Local, &signature)?;
        self.context.func.signature = signature;
        self.context.func.name = UserFuncName::user(0, id.as_u32());
        let mut builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let arguments = builder.block_params(entry).to_vec();
        let value = body(&mut builder, &mut self.module, id, &arguments)?;
        builder.ins().return_(&[value]);
        builder.seal_all_blocks();
        builder.finalize(self.module.target_config());
        self.module.define_function(id, &mut self.context)?;
        self.module.clear_context(&mut self.context);
        Ok(id)
    }

    fn data(&mut self, name: &str, writable: bool, content: DataDescription) -> ModuleResult<DataId> {
        let id = self.module.declare_data(name, Linkage::Local, writable, false)?;
        self.module.define_data(id, &content)?;
        Ok(id)
    }

    /// Compiles and finalizes all of [`Functions`].
    ///
    /// # Errors
    ///
    /// The provider has not so much memory, or the system refuses to make it executable; or they have been compiled before.
    pub fn functions(&mut self) -> ModuleResult<Functions> {
        let pointer = self.module.target_config().pointer_type();
        let fibonacci = self.fibonacci()?;
        let sum = self.sum(pointer)?;
        let both = self.both(fibonacci)?;

        let mut content = DataDescription::new();
        content.define(FIRST_PRIMES.iter().flat_map(|prime| prime.to_ne_bytes()).collect());
        content.set_align(8);
        let primes = self.data("primes", false, content)?;
        let prime =
            self.define("prime", self.signature(&[types::I64]), |builder, module, _, arguments| {
                let table = module.declare_data_in_func(primes, builder.func);
                let table = builder.ins().symbol_value(pointer, table);
                let len = builder.ins().iconst(types::I64, 6);
                let index = builder.ins().urem(arguments[0], len);
                let offset = builder.ins().imul_imm_s(index, 8);
                let place = builder.ins().iadd(table, offset);
                Ok(builder.ins().load(types::I64, TRUSTED, place, 0))
            })?;

        let mut content = DataDescription::new();
        content.define_zeroinit(8);
        let counter = self.data("counter", true, content)?;
        let next = self.define("next", self.signature(&[]), |builder, module, _, _| {
            let place = module.declare_data_in_func(counter, builder.func);
            let place = builder.ins().symbol_value(pointer, place);
            let before = builder.ins().load(types::I64, TRUSTED, place, 0);
            let after = builder.ins().iadd_imm_s(before, 1);
            builder.ins().store(TRUSTED, after, place, 0);
            Ok(after)
        })?;

        let plus_one = self.adding("plus_one", 1)?;
        let mut content = DataDescription::new();
        content.define_zeroinit(8);
        let reference = self.module.declare_func_in_data(plus_one, &mut content);
        content.write_function_addr(0, reference);
        let slot = self.data("slot", true, content)?;
        let signature = self.signature(&[types::I64]);
        let swapped = self.define("swapped", signature.clone(), |builder, module, _, arguments| {
            let place = module.declare_data_in_func(slot, builder.func);
            let place = builder.ins().symbol_value(pointer, place);
            let callee = builder.ins().atomic_load(pointer, TRUSTED, place);
            let signature = builder.import_signature(signature);
            let call = builder.ins().call_indirect(signature, callee, arguments);
            Ok(builder.inst_results(call)[0])
        })?;

        self.module.finalize_definitions()?;
        self.slot = Some(slot);
        let code = |id| self.module.get_finalized_function(id);
        Ok(Functions {
            // SAFETY: a function of this type, of the platform's convention, as the others.
            fibonacci: unsafe { transmute::<*const u8, extern "C" fn(u64) -> u64>(code(fibonacci)) },
            // SAFETY: as above; it reads what it is told to.
            sum: unsafe { transmute::<*const u8, unsafe extern "C" fn(*const u64, u64) -> u64>(code(sum)) },
            // SAFETY: as above.
            both: unsafe { transmute::<*const u8, extern "C" fn(u64) -> u64>(code(both)) },
            // SAFETY: as above; the index is within the table.
            prime: unsafe { transmute::<*const u8, extern "C" fn(u64) -> u64>(code(prime)) },
            // SAFETY: as above; it writes without a lock.
            next: unsafe { transmute::<*const u8, unsafe extern "C" fn() -> u64>(code(next)) },
            // SAFETY: as above; in the slot is always a function of that type.
            swapped: unsafe { transmute::<*const u8, extern "C" fn(u64) -> u64>(code(swapped)) },
            primes: self.module.get_finalized_data(primes).0,
            counter: self.module.get_finalized_data(counter).0,
        })
    }

    fn fibonacci(&mut self) -> ModuleResult<FuncId> {
        self.define("fibonacci", self.signature(&[types::I64]), |builder, module, id, arguments| {
            let itself = module.declare_func_in_func(id, builder.func);
            let (deeper, done) = (builder.create_block(), builder.create_block());
            builder.append_block_param(done, types::I64);
            let small = builder.ins().icmp_imm_s(IntCC::UnsignedLessThan, arguments[0], 2);
            builder.ins().brif(small, done, &[arguments[0].into()], deeper, &[]);
            builder.switch_to_block(deeper);
            let mut parts = Vec::new();
            for less in [1, 2] {
                let number = builder.ins().iadd_imm_s(arguments[0], -less);
                let call = builder.ins().call(itself, &[number]);
                parts.push(builder.inst_results(call)[0]);
            }
            let sum = builder.ins().iadd(parts[0], parts[1]);
            builder.ins().jump(done, &[sum.into()]);
            builder.switch_to_block(done);
            Ok(builder.block_params(done)[0])
        })
    }

    fn sum(&mut self, pointer: Type) -> ModuleResult<FuncId> {
        self.define("sum", self.signature(&[pointer, types::I64]), |builder, _, _, arguments| {
            let (head, body, done) = (builder.create_block(), builder.create_block(), builder.create_block());
            let [place, left, sum] =
                [pointer, types::I64, types::I64].map(|kind| builder.append_block_param(head, kind));
            let zero = builder.ins().iconst(types::I64, 0);
            builder.ins().jump(head, &[arguments[0].into(), arguments[1].into(), zero.into()]);
            builder.switch_to_block(head);
            builder.ins().brif(left, body, &[], done, &[]);
            builder.switch_to_block(body);
            let number = builder.ins().load(types::I64, TRUSTED, place, 0);
            let sum_now = builder.ins().iadd(sum, number);
            let place_now = builder.ins().iadd_imm_s(place, 8);
            let left_now = builder.ins().iadd_imm_s(left, -1);
            builder.ins().jump(head, &[place_now.into(), left_now.into(), sum_now.into()]);
            builder.switch_to_block(done);
            Ok(sum)
        })
    }

    fn both(&mut self, fibonacci: FuncId) -> ModuleResult<FuncId> {
        let signature = self.signature(&[types::I64]);
        let host = self.module.declare_function("host", Linkage::Import, &signature)?;
        self.define("both", signature, |builder, module, _, arguments| {
            let fibonacci = module.declare_func_in_func(fibonacci, builder.func);
            let host = module.declare_func_in_func(host, builder.func);
            let call = builder.ins().call(fibonacci, arguments);
            let first = builder.inst_results(call)[0];
            let call = builder.ins().call(host, arguments);
            let second = builder.inst_results(call)[0];
            Ok(builder.ins().iadd(first, second))
        })
    }

    fn adding(&mut self, name: &str, what: i64) -> ModuleResult<FuncId> {
        self.define(name, self.signature(&[types::I64]), |builder, _, _, arguments| {
            Ok(builder.ins().iadd_imm_s(arguments[0], what))
        })
    }

    /// Compiles a function that adds a number, and has [`Functions::swapped`] call it from now on, by whichever thread.
    ///
    /// # Errors
    ///
    /// As [`functions`](Self::functions), which comes before.
    pub fn swap(&mut self, name: &str, what: i64) -> ModuleResult<()> {
        let slot = self.slot.ok_or_else(|| ModuleError::Undeclared("slot".to_owned()))?;
        let id = self.adding(name, what)?;
        self.module.finalize_definitions()?;
        let code = self.module.get_finalized_function(id);
        let place = self.module.get_finalized_data(slot).0.cast_mut().cast::<*mut u8>();
        // SAFETY: 8 bytes on a multiple of 8, at least, that are there as long as the module, and are read atomically.
        let place = unsafe { AtomicPtr::from_ptr(place) };
        place.store(code.cast_mut(), Ordering::Release);
        Ok(())
    }

    /// Compiles one of any number of functions, each another: what [`mixed`] computes. It can be called when it is finalized.
    ///
    /// # Errors
    ///
    /// As [`functions`](Self::functions).
    pub fn mix(&mut self, number: u64) -> ModuleResult<FuncId> {
        self.define(&format!("mix_{number}"), self.signature(&[types::I64]), |builder, _, _, arguments| {
            let mut value = arguments[0];
            for round in 0..ROUNDS {
                let factor = builder.ins().iconst(types::I64, factor(number, round).cast_signed());
                value = builder.ins().imul(value, factor);
                let shifted = builder.ins().ushr_imm_u(value, 29);
                value = builder.ins().bxor(value, shifted);
            }
            Ok(value)
        })
    }

    /// Lets what was compiled be called.
    ///
    /// # Errors
    ///
    /// As [`functions`](Self::functions).
    pub fn finalize(&mut self) -> ModuleResult<()> {
        self.module.finalize_definitions()
    }

    /// One that [`mix`](Self::mix) made. It can be called until [`free`](Self::free).
    ///
    /// # Panics
    ///
    /// It was not [finalized](Self::finalize).
    ///
    /// # Safety
    ///
    /// `id` is what `mix` gave, of this value.
    pub unsafe fn mixing(&self, id: FuncId) -> extern "C" fn(u64) -> u64 {
        let code = self.module.get_finalized_function(id);
        // SAFETY: a function of this type (the caller's promise).
        unsafe { transmute::<*const u8, extern "C" fn(u64) -> u64>(code) }
    }

    /// Gives the memory back to the system, as far as the provider can.
    ///
    /// # Safety
    ///
    /// None of its functions is called any more, and nobody looks at its data.
    pub unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe { self.module.free_memory() };
    }
}

/// How long the functions are that [`Jit::mix`] makes.
const ROUNDS: u64 = 8;

fn factor(number: u64, round: u64) -> u64 {
    number.wrapping_add(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// What the function of this number ought to give.
pub fn mixed(number: u64, value: u64) -> u64 {
    (0..ROUNDS).fold(value, |value, round| {
        let value = value.wrapping_mul(factor(number, round));
        value ^ (value >> 29)
    })
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit").finish_non_exhaustive()
    }
}
