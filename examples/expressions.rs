//! A compiler of arithmetic: each expression of `x` becomes a function of machine code, which is then called.
//!
//! ```text
//! cargo run --features allow_exec --example expressions -- "x*x + 3*x - 7" "-(x + 1) * 2"
//! ```
//!
//! What is worth a look: [`compile`] asks for room, writes the code, publishes it, and gets a function that cannot outlive it. The same
//! program runs on x86-64 (whatever the system's own convention is) and on aarch64.

use folio::{CodeMemory, CodePiece, FnRef};
use std::error::Error;
use std::process::ExitCode;

#[derive(Debug, Clone)]
enum Expression {
    Number(i64),
    Argument,
    Negative(Box<Expression>),
    Both(Box<Expression>, Operator, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
}

/// Reads expressions: sums of products of numbers, `x`, and what is in parentheses.
struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn skip(&mut self, expected: char) -> bool {
        let found = self.next() == Some(expected);
        if found {
            self.rest = &self.rest[expected.len_utf8()..];
        }
        found
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut sum = self.product()?;
        loop {
            let operator = match self.next() {
                Some('+') => Operator::Add,
                Some('-') => Operator::Subtract,
                _ => return Ok(sum),
            };
            self.rest = &self.rest[1..];
            sum = Expression::Both(Box::new(sum), operator, Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut product = self.factor()?;
        while self.skip('*') {
            product = Expression::Both(Box::new(product), Operator::Multiply, Box::new(self.factor()?));
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Expression, String> {
        if self.skip('-') {
            return Ok(Expression::Negative(Box::new(self.factor()?)));
        }
        if self.skip('x') {
            return Ok(Expression::Argument);
        }
        if self.skip('(') {
            let inner = self.sum()?;
            return if self.skip(')') {
                Ok(inner)
            } else {
                Err(format!("a ) is missing before {:?}", self.rest))
            };
        }
        let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(len);
        let number =
            digits.parse().map_err(|_| format!("a number, x or ( is missing before {:?}", self.rest))?;
        self.rest = rest;
        Ok(Expression::Number(number))
    }
}

fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { rest: text };
    let whole = parser.sum()?;
    match parser.next() {
        None => Ok(whole),
        Some(_) => Err(format!("what is {:?}?", parser.rest)),
    }
}

/// What an expression is, without compiling it.
fn evaluate(expression: &Expression, x: i64) -> i64 {
    match expression {
        Expression::Number(number) => *number,
        Expression::Argument => x,
        Expression::Negative(inner) => evaluate(inner, x).wrapping_neg(),
        Expression::Both(left, operator, right) => {
            let (left, right) = (evaluate(left, x), evaluate(right, x));
            match operator {
                Operator::Add => left.wrapping_add(right),
                Operator::Subtract => left.wrapping_sub(right),
                Operator::Multiply => left.wrapping_mul(right),
            }
        }
    }
}

/// The convention by which the code is called: on x86-64 one that is the same on every system.
#[cfg(target_arch = "x86_64")]
type Function = extern "sysv64" fn(i64) -> i64;
#[cfg(not(target_arch = "x86_64"))]
type Function = extern "C" fn(i64) -> i64;

/// Instructions for a machine whose values lie on the stack.
#[cfg(target_arch = "x86_64")]
fn assemble(expression: &Expression, code: &mut Vec<u8>) {
    match expression {
        Expression::Number(number) => {
            code.extend([0x48, 0xb8]); // mov rax, number
            code.extend(number.to_le_bytes());
            code.push(0x50); // push rax
        }
        Expression::Argument => code.push(0x57), // push rdi
        Expression::Negative(inner) => {
            assemble(inner, code);
            code.extend([0x48, 0xf7, 0x1c, 0x24]); // neg qword [rsp]
        }
        Expression::Both(left, operator, right) => {
            assemble(left, code);
            assemble(right, code);
            code.extend([0x59, 0x58]); // pop rcx; pop rax
            code.extend(match operator {
                Operator::Add => &[0x48, 0x01, 0xc8][..],        // add rax, rcx
                Operator::Subtract => &[0x48, 0x29, 0xc8],       // sub rax, rcx
                Operator::Multiply => &[0x48, 0x0f, 0xaf, 0xc1], // imul rax, rcx
            });
            code.push(0x50); // push rax
        }
    }
}

#[cfg(target_arch = "x86_64")]
const END: &[u8] = &[0x58, 0xc3]; // pop rax; ret

#[cfg(target_arch = "aarch64")]
fn assemble(expression: &Expression, code: &mut Vec<u8>) {
    /// str x9, [sp, #-16]!
    const PUSH: u32 = 0xf81f_0fe9;
    let emit = |instruction: u32, code: &mut Vec<u8>| code.extend(instruction.to_le_bytes());
    match expression {
        Expression::Number(number) => {
            let bits = number.to_le_bytes();
            for (shift, half) in (0_u32..).zip(bits.chunks(2)) {
                // movz x9, #half; then movk x9, #half, lsl #(16 * shift)
                let base = if shift == 0 { 0xd280_0009 } else { 0xf280_0009 };
                let half = u32::from(u16::from_le_bytes([half[0], half[1]]));
                emit(base | shift << 21 | half << 5, code);
            }
            emit(PUSH, code);
        }
        Expression::Argument => emit(0xf81f_0fe0, code), // str x0, [sp, #-16]!
        Expression::Negative(inner) => {
            assemble(inner, code);
            emit(0xf940_03e9, code); // ldr x9, [sp]
            emit(0xcb09_03e9, code); // neg x9, x9
            emit(0xf900_03e9, code); // str x9, [sp]
        }
        Expression::Both(left, operator, right) => {
            assemble(left, code);
            assemble(right, code);
            emit(0xf841_07ea, code); // ldr x10, [sp], #16
            emit(0xf841_07e9, code); // ldr x9, [sp], #16
            emit(
                match operator {
                    Operator::Add => 0x8b0a_0129,      // add x9, x9, x10
                    Operator::Subtract => 0xcb0a_0129, // sub x9, x9, x10
                    Operator::Multiply => 0x9b0a_7d29, // mul x9, x9, x10
                },
                code,
            );
            emit(PUSH, code);
        }
    }
}

#[cfg(target_arch = "aarch64")]
const END: &[u8] = &[0xe0, 0x07, 0x41, 0xf8, 0xc0, 0x03, 0x5f, 0xd6]; // ldr x0, [sp], #16; ret

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn assemble(_expression: &Expression, _code: &mut Vec<u8>) {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const END: &[u8] = &[];

/// A function of one argument, as long as it is not dropped.
struct Compiled {
    piece: CodePiece,
}

impl Compiled {
    fn call(&self, x: i64) -> i64 {
        // SAFETY: what `compile` has assembled: it takes one number and leaves the stack as it was, whatever the number is.
        let function: FnRef<'_, Function> = unsafe { self.piece.get_fn(0) }.expect("it begins at its start");
        function.call((x,))
    }
}

fn compile(memory: &CodeMemory, expression: &Expression) -> Result<Compiled, folio::Error> {
    let mut code = Vec::new();
    assemble(expression, &mut code);
    code.extend(END);
    let mut draft = memory.draft(code.len())?;
    draft.copy_from_slice(&code);
    Ok(Compiled { piece: draft.publish()? })
}

fn run(texts: &[String]) -> Result<(), Box<dyn Error>> {
    let memory = CodeMemory::new(1 << 20)?;
    println!("code memory at {:#x?}, by {:?}", memory.as_range(), memory.strategy());
    for text in texts {
        let expression = parse(text)?;
        let function = compile(&memory, &expression)?;
        println!("\n{text}  ({} bytes at {:p})", function.piece.len(), function.piece.address());
        for x in [-3, 0, 1, 2, 10, 1_000_000] {
            let (found, expected) = (function.call(x), evaluate(&expression, x));
            println!("  x = {x:>7}: {found}");
            if found != expected {
                return Err(format!("the code says {found}, which should be {expected}").into());
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    if END.is_empty() {
        println!("this example assembles for x86-64 and aarch64 only");
        return ExitCode::SUCCESS;
    }
    let mut texts: Vec<String> = std::env::args().skip(1).collect();
    if texts.is_empty() {
        texts.extend(["x*x + 3*x - 7", "-(x + 1) * 2", "((x))*x*x*x - 123456789012345"].map(str::to_owned));
    }
    match run(&texts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("expressions: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expressions of all forms, a few levels deep, as the interpreter sees them.
    #[test]
    fn code_says_what_the_interpreter_says() {
        if END.is_empty() {
            return;
        }
        let memory = match CodeMemory::new(1 << 20) {
            Ok(memory) => memory,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        fn any(depth: u32, random: &mut impl FnMut(u64) -> u64) -> Expression {
            let inner = |random: &mut _| Box::new(any(depth - 1, random));
            match random(if depth == 0 { 2 } else { 6 }) {
                0 => Expression::Argument,
                1 => Expression::Number((random(u64::MAX) as i64) >> random(64)),
                2 => Expression::Negative(inner(random)),
                kind => {
                    let operator = [Operator::Add, Operator::Subtract, Operator::Multiply][kind as usize - 3];
                    Expression::Both(inner(random), operator, inner(random))
                }
            }
        }
        for _ in 0..500 {
            let expression = any(5, &mut random);
            let function = compile(&memory, &expression).unwrap();
            for x in [0, 1, -1, i64::MAX, i64::MIN, 12345] {
                assert_eq!(function.call(x), evaluate(&expression, x), "{expression:?}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_said() {
        for text in ["", "x +", "(x", "x)", "2 x", "99999999999999999999", "y"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(evaluate(&parse(" 2*(x - 1) - -3 ").unwrap(), 5), 11);
    }
}
