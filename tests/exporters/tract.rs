//! Runs an ONNX model in tract: `tract MODEL.onnx EXTENT,EXTENT..` with the input's values, little-endian float32, on
//! standard input; prints the outputs, one a line: extents, then values. readers.py builds it.

use std::io::Read;
use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let mut args = std::env::args().skip(1);
    let (model, extents) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let shape = extents.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let input = Tensor::from_shape(&shape, &values)?;
    let model = tract_onnx::onnx().model_for_path(model)?.with_input_fact(0, f32::fact(&shape).into())?;
    let outputs = model.into_optimized()?.into_runnable()?.run(tvec!(input.into()))?;
    for output in outputs {
        let floats = output.cast_to::<f32>()?;
        let list: Vec<String> = floats.try_as_plain_ram()?.as_slice::<f32>()?.iter().map(f32::to_string).collect();
        println!("{:?};{}", output.shape(), list.join(","));
    }
    Ok(())
}
