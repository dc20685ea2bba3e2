#include "nearsight/training_set.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace nearsight {

NetworkShape::NetworkShape(const std::vector<std::vector<Index>>& sizes,
                           const std::vector<Activation>& activations) {
  begin.push_back(0);
  for (const std::vector<Index>& element : sizes) {
    if (element.size() != activations.size() + 1)
      throw std::invalid_argument("a network needs one activation per layer");
    if (element.back() != 1)
      throw std::invalid_argument("the last layer of a network must have one output");
    std::vector<Layer> layers;
    for (std::size_t l = 0; l + 1 < element.size(); ++l) {
      if (element[l] < 1) throw std::invalid_argument("layers must have at least one node");
      layers.push_back({element[l], element[l + 1], activations[l], n_weights,
                        n_weights + element[l] * element[l + 1]});
      n_weights += (element[l] + 1) * element[l + 1];
    }
    elements.push_back(std::move(layers));
    begin.push_back(n_weights);
  }
}

TrainingSet::TrainingSet(NetworkShape shape, Matrix scale, Matrix offset)
    : shape(std::move(shape)),
      scale(std::move(scale)),
      offset(std::move(offset)),
      n_features(padded(this->scale.cols(), kFeatureLanes)) {
  const auto& elements = this->shape.elements;
  if (this->scale.rows() != static_cast<Index>(elements.size()) ||
      this->offset.rows() != this->scale.rows() || this->offset.cols() != this->scale.cols())
    throw std::invalid_argument("scale and offset must have one row per element");
  for (const std::vector<NetworkShape::Layer>& layers : elements)
    if (layers.front().inputs > this->scale.cols())
      throw std::invalid_argument("a network takes more features than the training set has");
}

void TrainingSet::add(const LabelledImage& image) {
  check(image);
  add_features(image);
  const Index first = n_blocks();
  for (Index f = 0; f < image.n_force_atoms; ++f) {
    derivatives.push_back(image.derivatives + 3 * image.block_offsets[f] * n_features);
    block_offsets.push_back(first + image.block_offsets[f + 1]);
  }
  for (Index b = 0; b < image.n_blocks; ++b)
    block_center.push_back(static_cast<int>(n_centers()) + image.block_center[b]);
  energies.push_back(image.energy);
  forces.insert(forces.end(), image.forces, image.forces + 3 * image.n_force_atoms);
  image_centers.push_back(static_cast<Index>(center_element.size()));
  image_force_atoms.push_back(image_force_atoms.back() + image.n_force_atoms);
}

void TrainingSet::check(const LabelledImage& image) const {
  if (image.n_centers == 0)
    throw std::invalid_argument("an image of the training set has no atoms");
  for (Index c = 0; c < image.n_centers; ++c)
    if (image.center_element[c] < 0 || image.center_element[c] >= scale.rows())
      throw std::invalid_argument("a centre of the training set has an unknown element");
  const Index* offsets = image.block_offsets;
  if (offsets[0] != 0 || offsets[image.n_force_atoms] != image.n_blocks ||
      !std::is_sorted(offsets, offsets + image.n_force_atoms + 1))
    throw std::invalid_argument("block offsets of an image do not fit its blocks");
  for (Index b = 0; b < image.n_blocks; ++b)
    if (image.block_center[b] < 0 || image.block_center[b] >= image.n_centers)
      throw std::invalid_argument("a block of the training set belongs to another image");
  const auto by_element = [&](int a, int b) {
    return image.center_element[a] < image.center_element[b];
  };
  for (Index f = 0; f < image.n_force_atoms; ++f)
    if (!std::is_sorted(image.block_center + offsets[f], image.block_center + offsets[f + 1],
                        by_element))
      throw std::invalid_argument("blocks of an atom are not sorted by element");
}

void TrainingSet::add_features(const LabelledImage& image) {
  const Index width = scale.cols(), first = static_cast<Index>(features.size());
  center_element.insert(center_element.end(), image.center_element,
                        image.center_element + image.n_centers);
  features.resize(first + image.n_centers * n_features, 0.0);
  for (Index c = 0; c < image.n_centers; ++c) {
    const int e = image.center_element[c];
    double* const row = features.data() + first + c * n_features;
    // Rounded in between, as without fused multiply-add: every SIMD level trains on the same.
    for (Index i = 0; i < width; ++i) row[i] = image.features[c * width + i] * scale(e, i);
    for (Index i = 0; i < width; ++i) row[i] += offset(e, i);
  }
}

}  // namespace nearsight
